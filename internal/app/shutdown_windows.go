package app

// ownShutdown has nothing to do: go-zero listens to no signals on Windows.
func (p *program) ownShutdown() {}
