package decode

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/schemas"
)

// cutter finds the records of one body while it reads them.
type cutter struct {
	*reader
	b       *schemas.Batch
	lim     Limits
	json    jsonscan.Limits
	body    []byte // of b, up to the end of the part that is being read
	from    int    // where that part begins
	had     int    // records before it
	rejects []Reject
	same    map[schemas.Digest]uint32 // identical records without an id, counted
	named   []byte                    // what an id is the hash of
	how     byte                      // named begins with what these have in common
	common  int                       // bytes of that

	line    int // of the byte lined, from 1
	lined   int
	lost    bool // brackets do not balance: find the next record by lines only
	spanned bool // records span lines
}

// bom is the byte order mark that some tools put before UTF-8.
var bom = []byte("\xef\xbb\xbf")

// cut reads the parts of the body one after the other.
func (c *cutter) cut() {
	if c.lim.Ends == nil {
		c.readPart()
		return
	}
	for _, end := range c.lim.Ends {
		if c.had = len(c.b.Records); c.had >= c.lim.Records {
			c.body = c.b.Body
			c.full(skipSpace(c.body, c.from))
			return
		}
		c.body, c.lost, c.spanned = c.b.Body[:end], false, false
		c.readPart()
		if len(c.b.Records) == c.had {
			c.reject(int(end), int(end), CodeEmpty, "it holds no record")
		}
		c.from = int(end)
	}
}

// readPart reads what lies between c.from and the end of c.body.
func (c *cutter) readPart() {
	i := c.from
	if bytes.HasPrefix(c.body[i:], bom) {
		i += len(bom)
	}
	if i = skipSpace(c.body, i); i < len(c.body) && c.body[i] == '[' {
		i = c.array(i + 1)
	}
	c.lines(i)
}

// lines reads one record after the other, each on its line. If the first one
// spans lines, all may.
func (c *cutter) lines(i int) {
	body := c.body
	first := len(c.b.Records) == c.had
	for {
		if i = skipSpace(body, i); i >= len(body) || c.full(i) {
			return
		}
		c.json.Lines = !c.spanned
		end, err := c.record(i)
		if err != nil && first && err.Code == jsonscan.Truncated {
			end, err = c.span(i, err)
		}
		first = false
		next := c.nextLine(max(i, end))
		switch {
		case err != nil:
			next = c.nextLine(i)
			if c.spanned {
				next = c.nextRecord(i)
			}
			c.refuse(i, trimEnd(body, i, next), err)
		case skipBlank(body, end) < next:
			at := skipBlank(body, end)
			if c.spanned {
				next = c.nextRecord(end)
			}
			c.reject(i, trimEnd(body, i, next), CodeBadJSON, fmt.Sprintf("data after the record at byte %d: write one record a line", at))
		default:
			c.accept(i, end)
		}
		i = next
	}
}

// span finds out whether the first record, which its line does not hold whole,
// goes on in the next lines or was cut off.
func (c *cutter) span(i int, cut *jsonscan.Error) (end int, err *jsonscan.Error) {
	body := c.body
	c.json.Lines = false
	end, err = c.record(i)
	switch {
	case err == nil, err.Code == jsonscan.TooDeep, err.Code == jsonscan.TooManyKeys, err.At >= i+c.lim.RecordBytes:
		c.spanned = true
	default: // a brace alone on its line is the start of a record in many lines
		c.spanned = len(trimmed(body, i, c.nextLine(i))) == 1
	}
	if !c.spanned {
		return 0, cut
	}
	return end, err
}

// record scans the record at body[i]. It does not look further than one
// record may reach.
func (c *cutter) record(i int) (end int, err *jsonscan.Error) {
	body := c.body
	data := body[:min(len(body), i+c.lim.RecordBytes)]
	end, e := c.scan.Scan(c.p.trie, data, i, c.json)
	if e != nil {
		return 0, fault(e)
	}
	if body[i] != '{' {
		return end, &jsonscan.Error{Code: jsonscan.OK, At: i}
	}
	return end, nil
}

// fault is apart from record so that good records allocate nothing.
func fault(err error) *jsonscan.Error {
	var e *jsonscan.Error
	errors.As(err, &e)
	return e
}

// refuse rejects what record refused.
func (c *cutter) refuse(start, end int, err *jsonscan.Error) {
	if end-start > c.lim.RecordBytes {
		c.reject(start, end, CodeTooLarge, fmt.Sprintf("the record has %d bytes, %d are allowed", end-start, c.lim.RecordBytes))
		return
	}
	at := err.At - start
	switch err.Code {
	case jsonscan.OK:
		c.reject(start, end, CodeNotAnObject, "a record is a JSON object {...}")
	case jsonscan.Truncated:
		c.reject(start, end, CodeTruncated, fmt.Sprintf("the record ends inside a value, at its byte %d", at))
	case jsonscan.TooDeep:
		c.reject(start, end, CodeTooDeep, fmt.Sprintf("nested deeper than %d at its byte %d", c.lim.Depth, at))
	case jsonscan.TooManyKeys:
		c.reject(start, end, CodeTooManyKeys, fmt.Sprintf("more than %d keys at its byte %d", c.lim.Keys, at))
	default:
		c.reject(start, end, CodeBadJSON, fmt.Sprintf("not valid JSON at its byte %d", at))
	}
}

// array reads the records behind an opening bracket and returns the offset of
// what follows the array.
func (c *cutter) array(i int) int {
	body := c.body
	c.json.Lines = false
	if i = skipSpace(body, i); i < len(body) && body[i] == ']' {
		return i + 1
	}
	for {
		if i = skipSpace(body, i); i >= len(body) {
			c.reject(i, i, CodeTruncated, "the array of records has no closing bracket")
			return i
		}
		if c.full(i) {
			return len(body)
		}
		end, err := c.record(i)
		after := skipSpace(body, end)
		if err == nil || err.Code == jsonscan.OK {
			if after < len(body) && body[after] != ',' && body[after] != ']' {
				err = &jsonscan.Error{Code: jsonscan.BadJSON, At: after}
			}
		}
		switch {
		case err == nil:
			c.accept(i, end)
		case err.Code == jsonscan.OK:
			c.refuse(i, end, err)
		default:
			if after = c.balance(i); after < 0 {
				after = c.nextRecord(i)
				c.refuse(i, trimEnd(body, i, after), err)
				if i = after; i >= len(body) {
					return i
				}
				continue
			}
			c.refuse(i, trimEnd(body, i, after), err)
		}
		if after >= len(body) {
			i = after
			continue
		}
		if i = after + 1; body[after] == ']' {
			return i
		}
	}
}

// balance finds the comma or bracket that ends a broken element of an array
// by counting brackets outside strings. It returns -1 if they do not balance,
// and does not try again in that body.
func (c *cutter) balance(i int) int {
	if c.lost {
		return -1
	}
	body, depth := c.body, 0
	for ; i < len(body); i++ {
		switch body[i] {
		case '"':
			for i++; i < len(body) && body[i] != '"' && body[i] != '\n'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
			if i >= len(body) || body[i] == '\n' {
				c.lost = true
				return -1
			}
		case '{', '[':
			depth++
		case ',':
			if depth == 0 {
				return i
			}
		case '}', ']':
			if depth == 0 {
				if body[i] == ']' {
					return i
				}
				c.lost = true
				return -1
			}
			depth--
		}
	}
	c.lost = true
	return -1
}

// nextRecord returns where the next record probably starts after one at i that
// is broken: at the next line that begins with a brace, as far in as that one.
func (c *cutter) nextRecord(i int) int {
	body := c.body
	column := i - c.from - 1 - bytes.LastIndexByte(body[c.from:i], '\n')
	if len(trimmed(body, i-column, i)) > 0 {
		column = -1
	}
	for {
		if i = c.nextLine(i); i >= len(body) {
			return i
		}
		j := i
		for j < len(body) && (body[j] == ' ' || body[j] == '\t') {
			j++
		}
		if j < len(body) && body[j] == '{' && (column < 0 || column == j-i) {
			return j
		}
	}
}

// nextLine returns the offset behind the line that holds byte i.
func (c *cutter) nextLine(i int) int {
	if n := bytes.IndexByte(c.body[i:], '\n'); n >= 0 {
		return i + n + 1
	}
	return len(c.body)
}

// full rejects the rest of a body that has too many records.
func (c *cutter) full(i int) bool {
	if len(c.b.Records) < c.lim.Records {
		return false
	}
	c.reject(i, trimEnd(c.body, i, len(c.body)), CodeTooManyRecords, fmt.Sprintf("more than %d records in one body: send smaller batches", c.lim.Records))
	return true
}

// lineAt returns the line of an offset; offsets never go back.
func (c *cutter) lineAt(at int) int {
	c.line += bytes.Count(c.b.Body[c.lined:at], []byte{'\n'})
	c.lined = at
	return c.line
}

func skipSpace(body []byte, i int) int {
	for i < len(body) && (body[i] == '\n' || body[i] == '\r' || body[i] == ' ' || body[i] == '\t') {
		i++
	}
	return i
}

// skipBlank skips white space, and line feeds only behind carriage returns.
func skipBlank(body []byte, i int) int {
	for i < len(body) && (body[i] == '\r' || body[i] == ' ' || body[i] == '\t') {
		i++
	}
	if i < len(body) && body[i] == '\n' {
		i++
	}
	return i
}

func trimmed(body []byte, start, end int) []byte { return bytes.TrimSpace(body[start:end]) }

// trimEnd returns the end of body[start:end] without white space at its end.
func trimEnd(body []byte, start, end int) int {
	for end > start && (body[end-1] == '\n' || body[end-1] == '\r' || body[end-1] == ' ' || body[end-1] == '\t') {
		end--
	}
	return end
}
