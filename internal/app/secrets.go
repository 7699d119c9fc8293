package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"shares/internal/config"
)

// openSecrets makes a session secret once and keeps it, when none is configured.
func (p *program) openSecrets() error {
	if p.secrets = p.config.SessionSecrets(); len(p.secrets) > 0 {
		return nil
	}
	file, err := p.dataFile("session.secret")
	if err != nil {
		return err
	}
	secret, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = writeOnce(file, rand.Text()+rand.Text()); err == nil {
			secret, err = os.ReadFile(file) // another process may have been first
		}
	}
	if err != nil {
		return fmt.Errorf("session secret: %w", err)
	}
	if len(secret) < config.MinSecret {
		return fmt.Errorf("session secret: %s is damaged; delete it to have a new one made", file)
	}
	p.secrets = []string{string(secret)}
	p.embedded("Sessions", "signed with a secret made for this folder, "+file+" (set SESSION_SECRET)")
	return nil
}

// writeOnce writes a file that only its owner may read, whole or not at all,
// and leaves one that is there as it is.
func writeOnce(file, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".secret-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
