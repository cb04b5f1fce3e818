package detectors

// Save writes what the detector remembers.
func (b *burst) Save(e *Encoder) {
	saveCounting(e, b.span, b.flushed, &b.scopes)
	for n, sc := range b.scopes.list {
		first, ok := b.naming[sc.tenant]
		e.Bool(ok && first == uint32(n))
	}
	saveTable(e, b.keys, func(e *Encoder, x *entry[burstKey, subject]) {
		e.Uint(uint64(x.key.scope))
		e.Uint(uint64(x.key.kind))
		e.Bool(x.key.background)
		e.Str(x.key.id)
		x.val.save(e)
	})
	saveEpisodes(e, b.episodes)
}

// Load reads what Save wrote.
func (b *burst) Load(d *Decoder) error {
	if err := loadCounting(d, b.span, &b.flushed, &b.scopes); err != nil {
		return err
	}
	for n, sc := range b.scopes.list {
		if d.Bool() {
			b.naming[sc.tenant] = uint32(n)
		}
	}
	loadTable(d, b.keys, func(d *Decoder) burstKey {
		k := burstKey{scope: b.scopes.number(d), kind: subjectKind(d.Uint()), background: d.Bool(), id: d.Str()}
		if k.kind >= subjectKinds {
			d.fail()
		}
		return k
	}, func(d *Decoder, x *entry[burstKey, subject]) {
		x.val.load(d)
		b.countLearning(&x.val, +1)
	})
	loadEpisodes(d, b.episodes)
	return d.err
}

func (s *subject) save(e *Encoder) {
	s.window.save(e)
	e.Int(s.stretch)
	s.calls.save(e)
	s.writes.save(e)
	for _, h := range []*habit{s.callHabit, s.writeHabit} {
		e.Bool(h != nil)
		if h != nil {
			h.save(e)
		}
	}
	e.Uint(uint64(s.callLimit))
	e.Uint(uint64(s.writeLimit))
	e.Bool(s.seasoned)
	for i := range s.votes {
		s.votes[i].save(e)
	}
	e.Int(s.calm)
	e.Uint(uint64(s.calmCalls))
	e.Uint(uint64(s.calmWrites))
}

func (s *subject) load(d *Decoder) {
	s.window.load(d)
	s.stretch = d.Int()
	s.calls.load(d)
	s.writes.load(d)
	for _, h := range []**habit{&s.callHabit, &s.writeHabit} {
		if d.Bool() {
			*h = &habit{}
			(*h).load(d)
		}
	}
	s.callLimit, s.writeLimit, s.seasoned = uint32(d.Uint()), uint32(d.Uint()), d.Bool()
	for i := range s.votes {
		s.votes[i].load(d)
	}
	s.calm, s.calmCalls, s.calmWrites = d.Int(), uint32(d.Uint()), uint32(d.Uint())
}
