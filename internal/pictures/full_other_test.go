//go:build !linux

package pictures

import "errors"

func writeToFullDisk(string) error { return errors.ErrUnsupported }
