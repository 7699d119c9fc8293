//go:build !linux

package pictures

import "errors"

func writeToFullDisk() error { return errors.ErrUnsupported }
