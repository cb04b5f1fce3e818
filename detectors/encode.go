package detectors

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Encoder writes state as compact bytes. The same calls give the same bytes.
type Encoder struct{ buf []byte }

// Uint writes an unsigned number.
func (e *Encoder) Uint(v uint64) { e.buf = binary.AppendUvarint(e.buf, v) }

// Int writes a signed number.
func (e *Encoder) Int(v int64) { e.buf = binary.AppendVarint(e.buf, v) }

// Float writes a number exactly.
func (e *Encoder) Float(v float64) {
	e.buf = binary.LittleEndian.AppendUint64(e.buf, math.Float64bits(v))
}

// Bool writes yes or no.
func (e *Encoder) Bool(v bool) {
	if v {
		e.Uint(1)
		return
	}
	e.Uint(0)
}

// Str writes a string.
func (e *Encoder) Str(s string) {
	e.Uint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

// JSON writes a value that encoding/json can write and read without loss.
func (e *Encoder) JSON(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("BUG: state cannot be written as JSON: %v", err))
	}
	e.Str(string(b))
}

var (
	errState      = errors.New("state is cut short or damaged")
	errWindow     = errors.New("state was kept for another length of window")
	errAttributes = errors.New("state was kept for other attributes")
)

func errVersion(v, reads uint64) error {
	return fmt.Errorf("state has version %d, this program reads %d", v, reads)
}

// Decoder reads what Encoder wrote. The first fault sticks: after it every
// read returns zero and Err says what happened. Damaged input costs no more
// memory than it is long.
type Decoder struct {
	buf []byte
	err error
}

// Err returns the first fault, or nil.
func (d *Decoder) Err() error { return d.err }

func (d *Decoder) fail() {
	if d.err == nil {
		d.err = errState
	}
	d.buf = nil
}

// Uint reads what Encoder.Uint wrote.
func (d *Decoder) Uint() uint64 {
	v, n := binary.Uvarint(d.buf)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

// Int reads what Encoder.Int wrote.
func (d *Decoder) Int() int64 {
	v, n := binary.Varint(d.buf)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

// Float reads what Encoder.Float wrote. A number that is not finite is a fault.
func (d *Decoder) Float() float64 {
	if len(d.buf) < 8 {
		d.fail()
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(d.buf))
	d.buf = d.buf[8:]
	if math.IsNaN(v) || math.IsInf(v, 0) {
		d.fail()
		return 0
	}
	return v
}

// Bool reads what Encoder.Bool wrote.
func (d *Decoder) Bool() bool { return d.Uint() != 0 }

// Len reads a number of items, each of which takes at least one byte.
func (d *Decoder) Len() int {
	n := d.Uint()
	if n > uint64(len(d.buf)) {
		d.fail()
		return 0
	}
	return int(n)
}

// Str reads what Encoder.Str wrote.
func (d *Decoder) Str() string {
	n := d.Len()
	s := string(d.buf[:n])
	d.buf = d.buf[n:]
	return s
}

// JSON reads what Encoder.JSON wrote.
func (d *Decoder) JSON(into any) {
	n := d.Len()
	if d.err != nil {
		return
	}
	if json.Unmarshal(d.buf[:n], into) != nil {
		d.fail()
		return
	}
	d.buf = d.buf[n:]
}

// section reads bytes behind their length of eight bytes.
func (d *Decoder) section() []byte {
	if len(d.buf) < 8 {
		d.fail()
		return nil
	}
	n := binary.LittleEndian.Uint64(d.buf)
	if n > uint64(len(d.buf)-8) {
		d.fail()
		return nil
	}
	s := d.buf[8 : 8+n]
	d.buf = d.buf[8+n:]
	return s
}
