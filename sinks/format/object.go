package format

import (
	"strconv"

	"github.com/agentrail/agentrail/schemas"
)

// object appends members of JSON objects; the commas are its business. Names
// are constants of ours and written as they are; texts are escaped.
type object struct{ b []byte }

func (o *object) key(name string) {
	o.comma()
	o.b = append(append(append(o.b, '"'), name...), `":`...)
}

func (o *object) comma() {
	if c := o.b[len(o.b)-1]; c != '{' && c != '[' {
		o.b = append(o.b, ',')
	}
}

// open begins an object that shut ends with what open returned.
func (o *object) open(name string) (mark int) {
	mark = len(o.b)
	o.key(name)
	o.b = append(o.b, '{')
	return mark
}

// list begins an array, of objects that item begins or of texts.
func (o *object) list(name string) (mark int) {
	mark = len(o.b)
	o.key(name)
	o.b = append(o.b, '[')
	return mark
}

func (o *object) item() (mark int) {
	mark = len(o.b)
	o.comma()
	o.b = append(o.b, '{')
	return mark
}

// shut ends what began at mark, and takes it back if nothing is in it.
func (o *object) shut(mark int) {
	switch o.b[len(o.b)-1] {
	case '{', '[':
		o.b = o.b[:mark]
		return
	}
	for i := mark; ; i++ {
		switch o.b[i] {
		case '{':
			o.b = append(o.b, '}')
			return
		case '[':
			o.b = append(o.b, ']')
			return
		}
	}
}

// text writes a member unless the text is empty.
func (o *object) text(name, s string) {
	if s != "" {
		o.key(name)
		o.b = String(o.b, s)
	}
}

// word writes a text that needs no escapes.
func (o *object) word(name, s string) {
	o.key(name)
	o.b = append(append(append(o.b, '"'), s...), '"')
}

func (o *object) int(name string, n int64) {
	o.key(name)
	o.b = strconv.AppendInt(o.b, n, 10)
}

// count writes a number of which zero means not said.
func (o *object) count(name string, n int64) {
	if n != 0 {
		o.int(name, n)
	}
}

func (o *object) hex(name string, b []byte) {
	o.key(name)
	o.b = append(appendHex(append(o.b, '"'), b), '"')
}

func (o *object) time(name string, ns int64) {
	o.key(name)
	o.b = append(schemas.AppendTime(append(o.b, '"'), ns), '"')
}

// texts writes an array of texts unless it is empty.
func (o *object) texts(name string, list []string) {
	mark := o.list(name)
	for _, s := range list {
		o.comma()
		o.b = String(o.b, s)
	}
	o.shut(mark)
}

// raw writes the record as it was received: as text.
func (o *object) raw(name string, ev *schemas.Event) {
	if len(ev.Raw) != 0 && ev.Flags&schemas.FlagSealed == 0 {
		o.key(name)
		o.b = String(o.b, string(ev.Raw))
	}
}

// position writes where in the journal the event is.
func (o *object) position(ev *schemas.Event) {
	o.int("shard", int64(ev.Shard))
	o.key("offset")
	o.b = strconv.AppendUint(o.b, ev.Offset, 10)
	o.int("index", int64(ev.Index))
}

// standing writes what only we say of an activity: no receiver's schema has
// fields for these.
func (o *object) standing(ev *schemas.Event) {
	o.word("class", ev.Class.String())
	o.text("kind", ev.Kind)
	o.word("initiator", ev.Initiator.String())
	o.word("access", ev.Access.String())
	o.word("outcome", ev.Outcome.String())
	if ev.Denial != schemas.DenialNone {
		o.word("denial", ev.Denial.String())
	}
	if ev.Autonomous != schemas.TriUnknown {
		o.word("autonomous", ev.Autonomous.String())
	}
	if ev.Flags != 0 {
		o.texts("flags", ev.Flags.Names())
	}
}

func appendHex(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}
