package config

import "time"

const (
	// ClosingTime is the end of SHARES_SHUTDOWN that is kept for closing connections and the log.
	ClosingTime = 2 * time.Second

	// maxUploadTime is for 2 MiB at half a megabit a second, a bad mobile network.
	maxUploadTime = 35 * time.Second
	minUploadTime = 5 * time.Second
)

// Grace is the time that running requests have once the drain is over.
func (c Config) Grace() time.Duration { return c.Shutdown - c.Drain - ClosingTime }

// UploadTime is how long the body of an upload may take. An upload that is accepted can be finished
// and answered within SHARES_SHUTDOWN.
func (c Config) UploadTime() time.Duration { return min(maxUploadTime, c.Grace()-c.Timeout) }
