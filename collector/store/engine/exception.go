package engine

import (
	"net/http"
	"regexp"
	"strconv"
)

// exception is an error of the engine, in ClickHouse's own words.
type exception struct {
	code int
	text string // "Code: N. DB::Exception: ... (NAME)"
}

var codeRE = regexp.MustCompile(`^\s*Code:\s*(\d+)`)

func newException(text string) *exception {
	e := &exception{code: 1002, text: text} // 1002: UNKNOWN_EXCEPTION
	if m := codeRE.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			e.code = n
		}
	} else {
		e.text = "Code: 1002. DB::Exception: " + text
	}
	return e
}

func (e *exception) Error() string { return e.text }

// refused makes an exception of the shim's own, for statements that are not
// let through to the engine.
func refused(code int, name, message string) *exception {
	return &exception{code: code, text: "Code: " + strconv.Itoa(code) + ". DB::Exception: " + message + ". (" + name + ")"}
}

// status is the HTTP status that ClickHouse answers the code with.
func (e *exception) status() int {
	switch e.code {
	case 516, 192, 193, 194:
		return http.StatusUnauthorized
	case 497, 164, 291:
		return http.StatusForbidden
	case 60, 81, 46, 47, 34:
		return http.StatusNotFound
	case 62, 27, 26, 36, 41, 43, 53, 70, 115, 117, 395, 456, 457:
		return http.StatusBadRequest
	case 159:
		return http.StatusRequestTimeout
	case 48:
		return http.StatusNotImplemented
	case 202:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
