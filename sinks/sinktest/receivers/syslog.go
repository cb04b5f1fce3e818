package receivers

import (
	"sync"

	"github.com/agentrail/agentrail/sinks/sinktest"
)

func openSyslog(o Options) (*Receiver, error) {
	s := &sinktest.Syslog{}
	var done sync.WaitGroup
	done.Go(func() { s.Serve(o.Listener) })
	return &Receiver{
		stop: []func(){func() {
			_ = o.Listener.Close()
			done.Wait()
			s.Close()
		}},
		Violations: s.Violations,
		Events: func() (map[string]int, error) {
			out := map[string]int{}
			for _, m := range s.Messages() {
				out[m.Data["event_id"]]++
			}
			return out, nil
		},
		Fields: func(address, ca string) string {
			fields := "host: h1\nsettle: 20ms\naddress: \"" + address + "\"\n"
			if ca == "" {
				return fields + "transport: tcp\n"
			}
			return fields + "transport: tls\ntls: {ca_file: " + ca + "}\n"
		},
	}, nil
}
