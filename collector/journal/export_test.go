package journal

// SetFault makes file operations fail: f is asked before each "create",
// "write", "sync", "cursor" and "snapshot".
func (o *Options) SetFault(f func(op, path string) error) { o.fault = f }

// Flush makes the cursors durable now.
func (d *Disk) Flush() error { return d.cursors.flush() }

// Tidy runs the housekeeping now.
func (d *Disk) Tidy() {
	d.gaps.run()
	d.retain()
	if d.state.Load() != nil {
		d.wake()
	}
}

// SegmentBytesUsed returns the bytes of the segments on disk.
func (d *Disk) SegmentBytesUsed() int64 { return d.bytes() }
