package detectors

// Sequences scores sequences of step names by the same shape that the shape
// detector keeps of an agent's runs. What is scored is not learned.
type Sequences struct{ shape runShape }

var sequenceBounds = shapeBounds{steps: 1 << 12, sets: 1 << 16, pairs: 1 << 16}

func (s *Sequences) read(steps []string) *runSteps {
	r := &runSteps{}
	for _, name := range steps {
		r.step(stepHash(name), sequenceBounds)
	}
	r.end(sequenceBounds)
	return r
}

// Learn takes in a sequence that is ordinary.
func (s *Sequences) Learn(steps []string) {
	r := s.read(steps)
	l := s.shape.judge(r)
	s.shape.learn(r, &l, sequenceBounds)
}

// Score returns how anomalous a sequence is, from 0 to 1: 0.5 is where the
// detector would tell.
func (s *Sequences) Score(steps []string) float64 {
	l := s.shape.judge(s.read(steps))
	return scoreOf(l.surprise, runTelling)
}
