package avatar

import (
	"bytes"
	"encoding/binary"
)

// orientation returns the orientation in a file's Exif data, 1 to 8, or 0 without one.
func orientation(file []byte, format string) int {
	mark := []byte("Exif\x00\x00")
	var exif []byte
	switch format {
	case "jpeg":
		header, _, _ := bytes.Cut(file, []byte("\xff\xda")) // the rest may contain other pictures
		_, exif, _ = bytes.Cut(header, mark)
	case "png":
		_, exif, _ = bytes.Cut(file, []byte("eXIf"))
	case "webp":
		if _, exif, _ = bytes.Cut(file, []byte("EXIF")); len(exif) > 4 {
			exif = bytes.TrimPrefix(exif[4:], mark) // after the chunk's length
		}
	}
	return tiffOrientation(exif)
}

// tiffOrientation returns the orientation tag in the first directory of a TIFF header, 1 to 8, or
// 0.
func tiffOrientation(tiff []byte) int {
	const (
		entrySize = 12
		tag       = 0x0112
		short     = 3
	)
	var order binary.ByteOrder = binary.BigEndian
	if bytes.HasPrefix(tiff, []byte("II*\x00")) {
		order = binary.LittleEndian
	} else if !bytes.HasPrefix(tiff, []byte("MM\x00*")) {
		return 0
	}
	if len(tiff) < 8 {
		return 0
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 0
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < entrySize {
			return 0
		}
		if order.Uint16(entries) == tag && order.Uint16(entries[2:]) == short {
			if v := int(order.Uint16(entries[8:])); v >= 1 && v <= 8 {
				return v
			}
			return 0
		}
		entries = entries[entrySize:]
	}
	return 0
}
