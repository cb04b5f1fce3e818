package detectors_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/agentrail/agentrail/detectors"
)

// planted is a series of five-minute values over two weeks with one anomaly,
// which lasts for some rows.
type planted struct {
	base, anomaly string
	values        []float64
	from, to      int
}

const seriesRows = 14 * 288

var (
	seriesBases     = []string{"noise", "daily", "counts", "jumpy", "falling"}
	seriesAnomalies = []string{"spike", "dip", "shift", "wrong hour", "restless"}
)

// plant makes a series of that kind with that anomaly in it.
func plant(base, anomaly string, seed uint64) planted {
	r := rand.New(rand.NewPCG(seed, uint64(len(base)*31+len(anomaly))))
	p := planted{base: base, anomaly: anomaly, values: make([]float64, seriesRows)}
	p.from = 9*288 + r.IntN(3*288)
	p.to = p.from + 6
	size := 1.0
	for i := range p.values {
		season := math.Sin(2 * math.Pi * float64(i%288) / 288)
		switch base {
		case "noise":
			p.values[i], size = 50+r.NormFloat64(), 1
		case "daily":
			p.values[i], size = 100+40*season+2*r.NormFloat64(), 2
		case "counts":
			p.values[i], size = poisson(r, 8+5*season), 3
		case "jumpy": // rests, and jumps now and then
			p.values[i], size = 10+r.NormFloat64(), 4
			if r.IntN(60) == 0 {
				p.values[i] += 15 * r.ExpFloat64()
			}
		case "falling":
			p.values[i], size = -0.01*float64(i)+r.NormFloat64(), 1
		}
	}
	change := func(n int, f func(i int, v float64) float64) {
		p.to = p.from + n
		for i := p.from; i < p.to; i++ {
			p.values[i] = f(i, p.values[i])
		}
	}
	switch anomaly {
	case "spike":
		change(2, func(_ int, v float64) float64 { return v + 10*size })
	case "dip":
		change(3, func(_ int, v float64) float64 { return v - 10*size })
	case "shift":
		change(288, func(_ int, v float64) float64 { return v + 5*size })
	case "wrong hour": // what is usual half a day later
		change(48, func(i int, _ float64) float64 { return p.values[i-144] + size })
	case "restless":
		change(48, func(_ int, v float64) float64 { return v + 5*size*r.NormFloat64() })
	}
	return p
}

func poisson(r *rand.Rand, mean float64) float64 {
	n, limit, p := 0.0, math.Exp(-mean), r.Float64()
	for p > limit {
		n++
		p *= r.Float64()
	}
	return n
}

func score(t testing.TB, detector string, values []float64) []float64 {
	t.Helper()
	s, err := detectors.NewSeries(detector)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = s.Score(noon.Add(time.Duration(i)*5*time.Minute), v)
	}
	return out
}

// quality is how well scores tell anomalies from stretches of the same length.
type quality struct {
	ranks         float64 // summed areas under the curve
	series, found int
	alarms, rows  int // rows of at least 0.5 outside of anomalies, and of all
}

func (q *quality) add(p planted, scores []float64) {
	const begin = 2 * 288 // what is learned first does not count
	grace := min(p.to, p.from+24)
	hit := slices.Max(scores[p.from : grace+1])
	below, of := 0.0, 0
	for i := begin; i+24 < p.from; i += 24 {
		of++
		switch top := slices.Max(scores[i : i+24]); {
		case top < hit:
			below++
		case top == hit:
			below += 0.5
		}
	}
	q.ranks += below / float64(of)
	q.series++
	if hit >= 0.5 {
		q.found++
	}
	for i := begin; i < p.from; i++ {
		q.rows++
		if scores[i] >= 0.5 {
			q.alarms++
		}
	}
}

func (q *quality) auc() float64    { return q.ranks / float64(q.series) }
func (q *quality) recall() float64 { return float64(q.found) / float64(q.series) }
func (q *quality) falsely() float64 {
	return float64(q.alarms) * 1000 / float64(q.rows)
}

// judgeSeries scores every kind of series with every kind of anomaly.
func judgeSeries(t testing.TB, detector string, seeds uint64) (all quality, by map[string]*quality) {
	t.Helper()
	by = map[string]*quality{}
	for _, base := range seriesBases {
		for _, anomaly := range seriesAnomalies {
			if anomaly == "wrong hour" && base != "daily" {
				continue
			}
			k := base + ", " + anomaly
			by[k] = &quality{}
			for seed := range seeds {
				p := plant(base, anomaly, seed)
				scores := score(t, detector, p.values)
				all.add(p, scores)
				by[k].add(p, scores)
			}
		}
	}
	return all, by
}

// TestSeriesFindsWhatIsPlanted holds quality above loose bounds; the benchmark
// prints it.
func TestSeriesFindsWhatIsPlanted(t *testing.T) {
	f := func(detector string, auc, recall, falsely float64) {
		t.Helper()
		all, by := judgeSeries(t, detector, 3)
		if all.auc() < auc || all.recall() < recall || all.falsely() > falsely {
			t.Errorf("%s: AUC %.3f, recall %.2f, %.2f false alarms in 1,000 rows; want %.2f, %.2f and at most %.1f", detector, all.auc(), all.recall(), all.falsely(), auc, recall, falsely)
		}
		for k, q := range by {
			t.Logf("%s: %s: AUC %.3f, recall %.2f, %.2f false alarms in 1,000 rows", detector, k, q.auc(), q.recall(), q.falsely())
		}
	}
	f("both", 0.9, 0.7, 3)
	f("extreme", 0.8, 0.6, 3)
	f("rateband", 0.8, 0.5, 3)
}

// BenchmarkSeriesQuality prints how well series are told, over 20 seeds.
func BenchmarkSeriesQuality(b *testing.B) {
	for _, detector := range detectors.SeriesDetectors() {
		b.Run(detector, func(b *testing.B) {
			for b.Loop() {
				all, _ := judgeSeries(b, detector, 20)
				b.ReportMetric(all.auc(), "AUC")
				b.ReportMetric(all.recall(), "recall")
				b.ReportMetric(all.falsely(), "false/1000rows")
			}
		})
	}
}

// BenchmarkSeries measures one value.
func BenchmarkSeries(b *testing.B) {
	p := plant("daily", "shift", 1)
	s, err := detectors.NewSeries("both")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s.Score(noon.Add(time.Duration(n)*5*time.Minute), p.values[n%len(p.values)])
		n++
	}
}

// Whatever comes, scores lie in [0,1], the same rows score the same, and a row
// is scored by the rows before it only.
func TestSeriesStreams(t *testing.T) {
	f := func(name string, values []float64) {
		t.Helper()
		for _, detector := range detectors.SeriesDetectors() {
			whole := score(t, detector, values)
			for _, n := range []int{1, len(values) / 3, len(values) - 1} {
				if part := score(t, detector, values[:n]); !slices.Equal(part, whole[:n]) {
					t.Errorf("%s, %s: the first %d rows score otherwise by themselves", name, detector, n)
				}
			}
			for i, x := range whole {
				if !(x >= 0 && x <= 1) {
					t.Errorf("%s, %s: row %d scores %v", name, detector, i, x)
					break
				}
			}
		}
	}
	for _, base := range seriesBases {
		f(base, plant(base, "shift", 1).values)
	}
	constant := slices.Repeat([]float64{7}, 1000)
	f("constant", constant)
	f("huge", slices.Repeat([]float64{1e308, -1e308, math.MaxFloat64, 5e-324}, 200))
	f("no numbers", slices.Repeat([]float64{math.NaN(), math.Inf(1), 3, math.Inf(-1)}, 200))
	f("two values", []float64{1, 2})

	if top := slices.Max(score(t, "both", constant)); top != 0 {
		t.Errorf("a constant series scores up to %v", top)
	}
	jump := score(t, "both", append(slices.Clone(constant), 9, 7, 7))
	if jump[1000] < 0.9 || jump[1002] >= 0.5 {
		t.Errorf("a jump of a constant series scores %v, then %v", jump[1000], jump[1002])
	}
	gaps := slices.Clone(constant)
	for i := range gaps {
		gaps[i] = math.NaN()
	}
	if top := slices.Max(score(t, "both", gaps)); top != 0 {
		t.Errorf("missing values score up to %v", top)
	}
	if _, err := detectors.NewSeries("burst"); err == nil {
		t.Error("a detector that scores no series is taken")
	}
}

func FuzzSeries(f *testing.F) {
	f.Add(int64(0), 1.0, int64(300), 2.0, -1.0)
	f.Add(int64(-1<<62), math.MaxFloat64, int64(-1<<62), -math.MaxFloat64, math.SmallestNonzeroFloat64)
	f.Fuzz(func(t *testing.T, at int64, a float64, step int64, b, c float64) {
		for _, detector := range detectors.SeriesDetectors() {
			s, err := detectors.NewSeries(detector)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				if x := s.Score(time.Unix(at+int64(i)*step, 0), [...]float64{a, b, c}[i%3]); !(x >= 0 && x <= 1) {
					t.Fatalf("row %d scores %v", i, x)
				}
			}
		}
	})
}

// session is a run of a made-up workflow; odd ones break one of its habits.
func session(r *rand.Rand, odd string) []string {
	steps := []string{"open", "read"}
	for range 1 + r.IntN(4) {
		steps = append(steps, fmt.Sprint("fetch", r.IntN(3)))
	}
	if r.IntN(3) == 0 {
		steps = append(steps, "retry")
	}
	steps = append(steps, "write", "close")
	switch odd {
	case "step":
		steps = slices.Insert(steps, 2, "export")
	case "loop":
		steps = slices.Insert(steps, 2, slices.Repeat([]string{"fetch1"}, 25)...)
	case "cut":
		steps = steps[:1+r.IntN(2)]
	case "order":
		slices.Reverse(steps)
	}
	return steps
}

func sequenceQuality(seed uint64) (auc, recall, falsely float64) {
	r := rand.New(rand.NewPCG(seed, 7))
	s := &detectors.Sequences{}
	for range 2000 {
		s.Learn(session(r, ""))
	}
	var ordinary, odd []float64
	for i := range 1000 {
		ordinary = append(ordinary, s.Score(session(r, "")))
		odd = append(odd, s.Score(session(r, []string{"step", "loop", "cut", "order"}[i%4])))
	}
	for _, x := range odd {
		for _, y := range ordinary {
			if x > y {
				auc++
			} else if x == y {
				auc += 0.5
			}
		}
		if x >= 0.5 {
			recall++
		}
	}
	for _, y := range ordinary {
		if y >= 0.5 {
			falsely++
		}
	}
	return auc / 1e6, recall / 1000, falsely / 1000
}

func TestSequences(t *testing.T) {
	if auc, recall, falsely := sequenceQuality(1); auc < 0.98 || recall < 0.9 || falsely > 0.02 {
		t.Errorf("AUC %.3f, recall %.2f, %.3f of the ordinary ones told", auc, recall, falsely)
	}
	s := &detectors.Sequences{}
	if x := s.Score([]string{"a"}); !(x >= 0 && x <= 1) {
		t.Errorf("before anything was learned a sequence scores %v", x)
	}
	for range 500 {
		s.Learn([]string{"a", "b", "c"})
	}
	if x := s.Score([]string{"a", "b", "c"}); x != 0 {
		t.Errorf("what was learned scores %v", x)
	}
	last := 0.0
	for _, steps := range [][]string{{"a", "c", "b"}, {"a", "b", "x", "c"}} {
		x := s.Score(steps)
		if x <= last || x > 1 {
			t.Errorf("%q scores %v, the one before %v", steps, x, last)
		}
		last = x
	}
	if x, y := s.Score(nil), s.Score(nil); x != y || x < 0.5 {
		t.Errorf("an empty sequence scores %v, then %v", x, y)
	}
}

// BenchmarkSequenceQuality prints how well sequences are told.
func BenchmarkSequenceQuality(b *testing.B) {
	for b.Loop() {
		auc, recall, falsely := sequenceQuality(2)
		b.ReportMetric(auc, "AUC")
		b.ReportMetric(recall, "recall")
		b.ReportMetric(falsely, "false")
	}
}
