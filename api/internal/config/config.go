// Package config exists because goctl expects it. The settings are in internal/config.
package config

import "shares/internal/config"

// Config is the settings of internal/config.
type Config = config.Config
