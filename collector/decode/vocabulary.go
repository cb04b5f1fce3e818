package decode

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// vocabularyFile is the name of the file that holds the detectors' words.
const vocabularyFile = "detection"

// Vocabulary returns the words and names that detectors look for in records.
func (s *Set) Vocabulary() *schemas.Vocabulary { return s.vocabulary }

// Tool returns the access of a tool by the file named tools; unknown if that
// lacks it. Mappings that use the file have asked it already.
func (s *Set) Tool(name string) schemas.Access { return accessOf(s.tools, name) }

// shared compiles what belongs to no mapping.
func (s *Set) shared(sources map[string]*source) error {
	var errs []error
	for name, src := range sources {
		if src.file.Vocabulary != nil && name != vocabularyFile {
			errs = append(errs, fmt.Errorf("%s: vocabulary: it belongs in the file named %s", src.path, vocabularyFile))
		}
	}
	src := sources[vocabularyFile]
	own, err := parse(src.path, src.data) // a copy of ours: shipped files are shared
	if err == nil {
		s.vocabulary, err = checkVocabulary(own.Vocabulary)
	}
	if err == nil && !src.table() {
		err = errors.New("it holds the detectors' vocabulary and nothing else")
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", src.path, err))
	}
	if src := sources["tools"]; src != nil {
		c := compiler{p: &program{}}
		c.tools(src.file.Tools)
		if err := errors.Join(c.errs...); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", src.path, err))
		}
		s.tools = c.p.tools
	}
	return errors.Join(errs...)
}

// checkVocabulary lower-cases all words and refuses what would find nothing or
// the wrong thing without saying so.
func checkVocabulary(v *schemas.Vocabulary) (*schemas.Vocabulary, error) {
	if v == nil {
		return nil, fmt.Errorf("vocabulary: it is missing; copy the shipped %s.yaml and change that", vocabularyFile)
	}
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("vocabulary."+format, args...)) }
	lists(reflect.ValueOf(v).Elem(), "", func(path string, list reflect.Value) {
		if list.IsNil() {
			fault("%s: it is missing; write [] if nothing is to be found", path)
		}
		words, _ := reflect.TypeAssert[[]string](list)
		for i, w := range words {
			if strings.TrimSpace(w) == "" {
				fault("%s: entry %d is empty", path, i+1)
			}
			if path != "refusals.texts" { // paths keep their case
				words[i] = strings.ToLower(strings.TrimSpace(w))
			}
		}
	})
	for i := range v.Refusals.Words {
		w := &v.Refusals.Words[i]
		if w.Word = strings.ToLower(w.Word); strings.TrimSpace(w.Word) == "" || w.Denial == schemas.DenialNone {
			fault("refusals.words: entry %d: word and denial are both needed", i+1)
		}
	}
	for code := range v.Refusals.Statuses {
		if code < 100 || code > 599 {
			fault("refusals.statuses: %d is no status", code)
		}
	}
	step := map[string]int{}
	for i, words := range v.Widening.Ladder {
		for k, w := range words {
			words[k] = strings.ToLower(strings.TrimSpace(w))
			if at, twice := step[words[k]]; twice {
				fault("widening.ladder: %q is on steps %d and %d", words[k], at, i+1)
			}
			step[words[k]] = i + 1
		}
	}
	return v, errors.Join(errs...)
}

// lists calls fn for every list and table below v, with its path.
func lists(v reflect.Value, path string, fn func(path string, list reflect.Value)) {
	for i := range v.NumField() {
		at := v.Type().Field(i).Tag.Get("yaml")
		if path != "" {
			at = path + "." + at
		}
		switch f := v.Field(i); f.Kind() {
		case reflect.Struct:
			lists(f, at, fn)
		case reflect.Slice, reflect.Map:
			fn(at, f)
		}
	}
}
