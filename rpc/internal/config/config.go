// Package config exists because goctl expects it here. All settings are in internal/config.
package config

import "shares/internal/config"

// Config is the type of internal/config.
type Config = config.Config
