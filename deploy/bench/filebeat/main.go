// Filebeat is Elastic's shipper of logs, as its module has it under the Apache
// licence, for the benchmark: the program for Elasticsearch that the elastic
// sink is compared with. It is a module of its own: nothing of it is linked into
// Agentrail.
package main

import (
	"os"

	"github.com/elastic/beats/v7/filebeat/cmd"
	inputs "github.com/elastic/beats/v7/filebeat/input/default-inputs"
)

func main() {
	if err := cmd.Filebeat(inputs.Init, cmd.FilebeatSettings()).Execute(); err != nil {
		os.Exit(1)
	}
}
