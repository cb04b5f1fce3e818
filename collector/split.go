package collector

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
