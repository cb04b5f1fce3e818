package journal

// Healthy returns nil while the journal takes intake, and otherwise why it does
// not. It mends itself: when space is freed or the disk takes writes again the
// next probe says so.
func (d *Disk) Healthy() error {
	if c := d.state.Load(); c != nil {
		return c.err
	}
	return nil
}
