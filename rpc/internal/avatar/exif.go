package avatar

import (
	"bytes"
	"encoding/binary"
	"io"
)

// orientation returns the orientation in a file's Exif data, or 0 without one.
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

// tiffOrientation returns the orientation in the first directory of a TIFF header, or 0.
func tiffOrientation(tiff []byte) int {
	var order binary.ByteOrder = binary.BigEndian
	if bytes.HasPrefix(tiff, []byte("II*\x00")) {
		order = binary.LittleEndian
	} else if !bytes.HasPrefix(tiff, []byte("MM\x00*")) {
		return 0
	}
	directory := bytes.NewReader(tiff)
	var header struct{ Mark, Offset uint32 }
	var count uint16
	if binary.Read(directory, order, &header) != nil {
		return 0
	}
	_, _ = directory.Seek(int64(header.Offset), io.SeekStart)
	_ = binary.Read(directory, order, &count) // nothing after the end
	for range count {
		var entry struct {
			Tag, Type uint16
			Count     uint32
			Value, _  uint16
		}
		if binary.Read(directory, order, &entry) != nil {
			return 0
		}
		if entry.Tag == 0x0112 && entry.Type == 3 { // a short
			return int(entry.Value)
		}
	}
	return 0
}
