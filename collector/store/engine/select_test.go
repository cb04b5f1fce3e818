package engine

import "testing"

func TestReadSelect(t *testing.T) {
	f := func(sql, want, format string) {
		t.Helper()
		got, err := ReadSelect(sql)
		if err != nil || got.SQL != want || got.Format != format {
			t.Errorf("%q: %+v, %v", sql, got, err)
		}
	}
	f("SELECT 1", "SELECT 1", "")
	f("SELECT 1;", "SELECT 1", "")
	f("SELECT 1 FORMAT JSON;", "SELECT 1 ", "JSON")
	f("WITH x AS (SELECT 1) SELECT * FROM x FORMAT CSV", "WITH x AS (SELECT 1) SELECT * FROM x ", "CSV")
	f("SELECT ')' FROM events -- (", "SELECT ')' FROM events -- (", "")
	for _, sql := range []string{"", "SELECT 1)", "SELECT (1", "SELECT 1; SELECT 2", "SHOW TABLES", "SELECT 1 INTO OUTFILE 'x'", "SELECT {x:Identifier}", "SELECT 1 SETTINGS a = 1"} {
		if got, err := ReadSelect(sql); err == nil {
			t.Errorf("%q was taken: %+v", sql, got)
		}
	}
}

// FuzzReadSelect looks for statements that end the check, and for ones that it
// takes though what it hands on is no longer a statement that it would take.
func FuzzReadSelect(f *testing.F) {
	for _, s := range []string{"SELECT 1 FORMAT CSV", "SELECT $a$ ; $a$;", "SELECT '\\'; --' FROM `a``b` /* ( */", "WITH (SELECT 1) AS x SELECT x;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		got, err := ReadSelect(sql)
		if err != nil || got.Hello {
			return
		}
		if _, err := ReadSelect(got.SQL); err != nil {
			t.Errorf("%q is taken, but not what is left of it, %q: %v", sql, got.SQL, err)
		}
	})
}
