package main

import "context"

func (im *importer) propose(ctx context.Context, files []string) error { return nil }
