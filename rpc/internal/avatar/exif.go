package avatar

import (
	"bytes"
	"encoding/binary"
)

// orientation returns the orientation in a file's Exif data, 1 to 8, or 0 without one.
func orientation(file []byte, format string) int {
	var exif []byte
	switch format {
	case "jpeg":
		exif = jpegExif(file)
	case "png":
		exif = chunk(file[8:], "eXIf", binary.BigEndian, 4, 0, 4)
	case "webp":
		exif = chunk(file[12:], "EXIF", binary.LittleEndian, 0, 4, 0)
	}
	return tiffOrientation(bytes.TrimPrefix(exif, []byte("Exif\x00\x00")))
}

func jpegExif(file []byte) []byte {
	for rest := file[2:]; len(rest) >= 4 && rest[0] == 0xff; {
		marker, length := rest[1], int(binary.BigEndian.Uint16(rest[2:]))
		if marker == 0xff { // padding
			rest = rest[1:]
			continue
		}
		if marker == 0xda || length < 2 || length+2 > len(rest) { // the picture itself begins
			return nil
		}
		if segment := rest[4 : length+2]; marker == 0xe1 && bytes.HasPrefix(segment, []byte("Exif\x00\x00")) {
			return segment
		}
		rest = rest[length+2:]
	}
	return nil
}

// chunk returns the data of the first chunk of a type. A chunk of PNG is its length, type, data and
// a checksum; one of WebP is its type, length and data, padded to an even length.
func chunk(rest []byte, name string, order binary.ByteOrder, typeAt, lengthAt, checksum int) []byte {
	for len(rest) >= 8 {
		length := int64(order.Uint32(rest[lengthAt:]))
		if length > int64(len(rest)-8) {
			return nil
		}
		if string(rest[typeAt:typeAt+4]) == name {
			return rest[8 : 8+length]
		}
		next := 8 + length + int64(checksum)
		if checksum == 0 {
			next += length % 2
		}
		rest = rest[min(next, int64(len(rest))):]
	}
	return nil
}

// tiffOrientation looks for the tag in the first directory of a TIFF header.
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
