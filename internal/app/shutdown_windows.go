package app

// ownShutdown does nothing, because go-zero handles no signals on Windows.
func (p *program) ownShutdown() {}
