package collector

import "bytes"

// more reports whether the body holds more than n records. It is asked before
// the records are read because each costs several hundred bytes of memory.
func more(body []byte, n int) bool {
	if len(body) <= 2*n { // a record is at least one byte and a separator
		return false
	}
	if first := skipSpace(body, 0); first < len(body) && body[first] == '[' {
		return bytes.Count(body, []byte{','}) >= n && countElements(body, first+1, n) > n
	}
	return bytes.Count(body, []byte{'\n'}) >= n && countLines(body) > n
}

// countLines counts the lines that are not blank.
func countLines(body []byte) int {
	n := 0
	for line := range bytes.Lines(body) {
		if skipSpace(line, 0) < len(line) {
			n++
		}
	}
	return n
}

// countElements counts the elements of the array whose first element is at i or
// behind it, and stops when there are more than enough.
func countElements(body []byte, i, enough int) int {
	n := 0
	for n <= enough {
		start, end, whole := nextValue(body, i)
		if start == end {
			break
		}
		n++
		if !whole {
			break
		}
		i = end
	}
	return n
}

// nextValue finds the next JSON value at or behind i in a row of values or in
// an array, by brackets and quotes alone: whether it is valid is for the
// decoder to say. White space, commas and the brackets of the array are
// skipped. Whole is false if the data end before the value does. If there is no
// further value start and end are equal.
func nextValue(data []byte, i int) (start, end int, whole bool) {
	for i < len(data) && separates(data[i]) {
		i++
	}
	start = i
	if i == len(data) {
		return i, i, false
	}
	if data[i] != '{' && data[i] != '"' {
		for i < len(data) && !separates(data[i]) {
			i++
		}
		return start, i, i < len(data)
	}
	for depth := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			if i = stringEnd(data, i+1); i == len(data) {
				return start, i, false
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if depth <= 0 {
			return start, i + 1, true
		}
	}
	return start, i, false
}

// stringEnd returns the place of the quote that ends the string that goes on at
// i, or the end of the data.
func stringEnd(data []byte, i int) int {
	for i < len(data) {
		switch data[i] {
		case '"':
			return i
		case '\\':
			i++
		}
		i++
	}
	return len(data)
}

func separates(c byte) bool {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == ',' || c == '[' || c == ']'
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t') {
		i++
	}
	return i
}
