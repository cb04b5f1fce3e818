package brake

import "io"

// Parse is parse, for its fuzz target.
func Parse(r io.Reader, yield func(name, data string, id uint64, last bool)) error {
	return parse(r, func() {}, func(m message) error {
		yield(m.name, m.data, m.id, m.last)
		return nil
	})
}
