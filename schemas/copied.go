package schemas

// Copied is an event as a copy of it, in a SIEM or in a file, says that it is.
// Nothing of it is proved.
type Copied struct {
	Format  string   // that it is written in
	Doc     []byte   // the event in that format, without what is around it
	ID      ID       // of the event
	Digest  Digest   // of the record
	Shard   uint16   // place in the journal
	Offset  uint64   //
	Index   uint32   //
	Class   string   // empty: not said
	Records [][]byte // the record, in each way that it can be read out of the format; empty: it is not in the copy
	Spaced  bool     // the record is JSON in JSON, which may be written otherwise than it was received
	Head    *Head    // that it carries
	Signs   *Head    // the head that it is itself
	Faults  []string // where it contradicts itself
}
