package app

import (
	"crypto/rand"
	"encoding/base64"
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
	file := filepath.Join(p.config.DataDir, "session.secret")
	secret, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(p.config.DataDir, 0o700); err != nil {
			return fmt.Errorf("SHARES_DATA_DIR: %w", err)
		}
		random := make([]byte, 32)
		if _, err := rand.Read(random); err != nil {
			return fmt.Errorf("session secret: %w", err)
		}
		secret = []byte(base64.RawURLEncoding.EncodeToString(random))
		if err := writeOnce(file, secret); err != nil {
			return fmt.Errorf("session secret: %w", err)
		}
		secret, err = os.ReadFile(file) // another process may have been first
		if err != nil {
			return fmt.Errorf("session secret: %w", err)
		}
	} else if err != nil {
		return fmt.Errorf("session secret: %w", err)
	}
	if len(secret) < config.MinSecret {
		return fmt.Errorf("session secret: %s is damaged; delete it to have a new one made", file)
	}
	p.secrets = []string{string(secret)}
	p.note("Sessions", "signed with a secret made for this folder, "+file+" (set SESSION_SECRET)")
	return nil
}

// writeOnce writes a file that only its owner may read, whole or not at all,
// and leaves one that is there as it is.
func writeOnce(file string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".secret-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
