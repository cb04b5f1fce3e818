package format

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
)

// Native appends the event as schemas.AppendJSON writes it: the typed fields
// by their names and the digest of the record. Where Raw is left in the event
// it follows as a last member: our own documents under their class (alert,
// control, ...), a record from outside under raw, as JSON if it is JSON, else
// as a string.
func Native(dst []byte, ev *schemas.Event) []byte {
	from := len(dst)
	dst = schemas.AppendJSON(dst, ev)
	dst = defuse(dst, from)
	if len(ev.Raw) == 0 || ev.Flags&schemas.FlagSealed != 0 {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"`...)
	if ev.Class == schemas.ClassActivity {
		dst = append(dst, "raw"...)
	} else {
		dst = append(dst, ev.Class.String()...)
	}
	dst = append(dst, `":`...)
	if ev.RawText {
		dst = String(dst, string(ev.Raw))
	} else {
		dst = appendRaw(dst, ev.Raw)
	}
	return append(dst, '}')
}

// defuse escapes what misleads a reader in the JSON that begins at from. Plain
// ASCII, which is nearly all, is only looked at, 32 bytes at a time.
func defuse(dst []byte, from int) []byte {
	i := from
	for ; i+32 <= len(dst); i += 32 {
		p := dst[i : i+32]
		if above7e(p)|above7e(p[8:])|above7e(p[16:])|above7e(p[24:]) != 0 {
			break
		}
	}
	for ; i+8 <= len(dst); i += 8 {
		if above7e(dst[i:]) != 0 {
			break
		}
	}
	if i+8 > len(dst) && !slices.ContainsFunc(dst[i:], func(c byte) bool { return c > 0x7e }) {
		return dst
	}
	rest := slices.Clone(dst[i:])
	return appendDefused(dst[:i], rest)
}

// above7e is not 0 if one of the first eight bytes is above 0x7e.
func above7e(p []byte) uint64 {
	w := binary.LittleEndian.Uint64(p)
	return (w | (w + 0x0101010101010101)) & 0x8080808080808080
}

// appendRaw splices raw in if it is JSON. The checks make the splice safe: in
// valid JSON a line break or a tab is only white space, and a byte above 0x7e
// lies only in a string, where it may be escaped.
func appendRaw(dst, raw []byte) []byte {
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return String(dst, string(raw))
	}
	return appendDefused(dst, raw)
}

func appendDefused(dst, doc []byte) []byte {
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case c == '\n' || c == '\r' || c == '\t':
			dst = append(dst, ' ')
		case c == 0x7f:
			dst = appendRune(dst, 0x7f, nil)
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRune(doc[i:])
			dst = appendRune(dst, r, doc[i:i+n])
			i += n - 1
		}
	}
	return dst
}
