package schemas

import "fmt"

// Vocabulary says which words and names detectors look for in foreign records
// where no field of an event holds the answer. None of them is documented by a
// source, so they are data: schemas/mapping/detection.yaml holds them and
// explains each. Words and names are in lower case.
type Vocabulary struct {
	Refusals  Refusals  `yaml:"refusals"`
	Inventory Standing  `yaml:"inventory"`
	Changes   ChangeSet `yaml:"changes"`
	Widening  Widening  `yaml:"widening"`
}

// Refusals says how the kind of a refusal is told.
type Refusals struct {
	Words    []RefusalWord    `yaml:"words"`    // looked for in the reason, in this order
	Statuses map[int32]Denial `yaml:"statuses"` // where the reason says nothing
	Texts    []string         `yaml:"texts"`    // paths of error texts, where there is no status either
}

// RefusalWord is a piece of text and the kind of refusal that it stands for.
type RefusalWord struct {
	Word   string `yaml:"word"`
	Denial Denial `yaml:"denial"`
}

// Standing names what an inventory record says of an agent.
type Standing struct {
	Unlisted []string `yaml:"unlisted"`
	Draft    []string `yaml:"draft"`
}

// ChangeSet names the parts of a record of a change.
type ChangeSet struct {
	Lists   []string `yaml:"lists"`    // a list of changes
	Field   []string `yaml:"field"`    // in an entry of the list: what changed,
	From    []string `yaml:"from"`     // from what
	To      []string `yaml:"to"`       // to what
	Before  []string `yaml:"before"`   // or one object before
	After   []string `yaml:"after"`    // and one after
	Scope   []string `yaml:"scope"`    // who is let in
	ScopeIn []string `yaml:"scope_in"` // where the scope is looked for first
}

// Widening says which changes let in more people or more things.
type Widening struct {
	Fields []string   `yaml:"fields"` // parts of the names of fields that say who or what is let in
	Ladder [][]string `yaml:"ladder"` // words for who is let in, from few to all
}

// UnmarshalText takes the name of a denial other than none.
func (d *Denial) UnmarshalText(b []byte) error {
	v, ok := ParseDenial(string(b))
	if !ok || v == DenialNone {
		return fmt.Errorf("%q: it is policy, expired, throttled or spend", b)
	}
	*d = v
	return nil
}
