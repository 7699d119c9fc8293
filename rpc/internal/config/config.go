// Package config is the settings of the user service. goctl expects it here;
// they are one struct with everybody else's, in internal/config.
package config

import "shares/internal/config"

// Config is internal/config's.
type Config = config.Config
