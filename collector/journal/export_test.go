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

// SetFrameVersion makes the frame at the start of p one of another version,
// with a checksum that is right.
func SetFrameVersion(p []byte, v byte) {
	p[4] = v
	n := int(p[6]) + int(p[7])<<8 + (int(p[28])+int(p[29])<<8)*recordSize
	crc := headCRC(p[:n])
	p[8], p[9], p[10], p[11] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
}

// Mend makes the checksums of the frame at the start of p right.
func Mend(p []byte) {
	h, err := parseHead(p, marker(p[12:20]))
	if err != nil {
		panic(err)
	}
	mendFrame(p[:h.length])
}
