package jsonscan

import "strings"

// Find returns the value at a dotted path of a valid value; keys match without
// regard to the case of ASCII letters, and the last of two equal keys counts. A
// number in the path is an index of an array; a name that meets an array takes
// the first element in which the rest of the path leads somewhere. Find uses no
// memory but for keys with escapes, and on data that is not JSON it ends
// without a result. The slot of the hit is 0.
func Find(data []byte, path string) (Hit, bool) {
	s := Scanner{}
	f := finder{s: &s, data: data}
	return f.at(s.space(data, 0), path, 0)
}

type finder struct {
	s    *Scanner
	data []byte
}

// maxFind caps how deep a path is followed.
const maxFind = 64

func (f *finder) at(i int, path string, depth int) (Hit, bool) {
	if i >= len(f.data) || depth > maxFind {
		return Hit{}, false
	}
	if path == "" {
		return f.whole(i)
	}
	switch f.data[i] {
	case '{':
		return f.member(i+1, path, depth)
	case '[':
		return f.element(i+1, path, depth)
	}
	return Hit{}, false
}

// whole returns the value at i itself.
func (f *finder) whole(i int) (Hit, bool) {
	end := f.skip(i)
	if end < 0 {
		return Hit{}, false
	}
	h := Hit{Start: uint32(i), End: uint32(end)}
	switch f.data[i] {
	case '"':
		h.Kind = String
		h.Start, h.End = h.Start+1, h.End-1
		h.Escaped = strings.IndexByte(View(f.data[h.Start:h.End]), '\\') >= 0
	case '{':
		h.Kind = Object
	case '[':
		h.Kind = Array
	case 't':
		h.Kind = True
	case 'f':
		h.Kind = False
	case 'n':
		h.Kind = Null
	default:
		h.Kind = Number
	}
	return h, true
}

func (f *finder) member(i int, path string, depth int) (hit Hit, ok bool) {
	name, rest, _ := strings.Cut(path, ".")
	name = strings.TrimSuffix(name, "[]")
	for {
		if i = f.s.space(f.data, i); i >= len(f.data) || f.data[i] != '"' {
			return hit, ok
		}
		key, next := f.key(i)
		if next < 0 {
			return hit, ok
		}
		if i = f.s.space(f.data, next); i >= len(f.data) || f.data[i] != ':' {
			return hit, ok
		}
		i = f.s.space(f.data, i+1)
		if equalFold(key, name) {
			if h, found := f.at(i, rest, depth+1); found {
				hit, ok = h, true
			}
		}
		if i = f.after(i); i < 0 {
			return hit, ok
		}
	}
}

func (f *finder) element(i int, path string, depth int) (Hit, bool) {
	name, rest, _ := strings.Cut(path, ".")
	index, numeric := 0, name != ""
	for _, c := range []byte(name) {
		if numeric = numeric && c-'0' <= 9 && index < 1<<24; !numeric {
			break
		}
		index = index*10 + int(c-'0')
	}
	for n := 0; ; n++ {
		if i = f.s.space(f.data, i); i >= len(f.data) || f.data[i] == ']' {
			return Hit{}, false
		}
		if numeric && n == index {
			return f.at(i, rest, depth+1)
		}
		if !numeric {
			if h, ok := f.at(i, path, depth+1); ok {
				return h, true
			}
		}
		if i = f.after(i); i < 0 {
			return Hit{}, false
		}
	}
}

func (f *finder) key(i int) (key []byte, end int) {
	end, escaped := f.s.text(f.data, i+1)
	if end < 0 {
		return nil, -1
	}
	if key = f.data[i+1 : end-1]; escaped {
		key = Unescape(nil, key)
	}
	return key, end
}

// after skips the value at i and the comma behind it; -1 if none follows.
func (f *finder) after(i int) int {
	if i = f.skip(i); i < 0 {
		return -1
	}
	if i = f.s.space(f.data, i); i >= len(f.data) || f.data[i] != ',' {
		return -1
	}
	return i + 1
}

// skip returns the offset behind the value at i, or -1. Brackets are counted;
// what is between them has been checked when the record was taken in.
func (f *finder) skip(i int) int {
	depth := 0
	for i < len(f.data) {
		switch f.data[i] {
		case '"':
			if i, _ = f.s.text(f.data, i+1); i < 0 {
				return -1
			}
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return -1
			}
			if depth--; depth == 0 {
				return i + 1
			}
		default:
			if depth == 0 {
				return f.scalar(i)
			}
		}
		i++
	}
	return -1
}

func (f *finder) scalar(i int) int {
	from := i
	for i < len(f.data) {
		switch f.data[i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n', '"', '{', '[', ':':
			if i == from {
				return -1
			}
			return i
		}
		i++
	}
	return i
}
