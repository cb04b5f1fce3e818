package engine

import (
	"testing"
)

func TestParse(t *testing.T) {
	f := func(sql string, k kind, format string, takesData bool) {
		t.Helper()
		st := parse(sql)
		if st.kind != k || st.format != format || st.takesData() != takesData {
			t.Errorf("%q: got kind %d, format %q, data apart %v; expected %d, %q, %v", sql, st.kind, st.format, st.takesData(), k, format, takesData)
		}
	}
	f("SELECT 1", kindSelect, "", false)
	f("  /* a */ -- b\n (SELECT 1) FORMAT JSON", kindSelect, "JSON", false)
	f("select 1 settings max_threads=1 format CSV;", kindSelect, "CSV", false)
	f("SELECT 1 FORMAT CSV SETTINGS max_threads = 1", kindSelect, "CSV", false)
	f("SELECT format FROM t", kindSelect, "", false)
	f("SELECT 'FORMAT JSON'", kindSelect, "", false)
	f("WITH 1 AS x SELECT x", kindSelect, "", false)
	f("SHOW TABLES", kindShow, "", false)
	f("INSERT INTO t (a, b) FORMAT Native", kindInsert, "Native", true)
	f("INSERT INTO t FORMAT JSONEachRow;", kindInsert, "JSONEachRow", true)
	f("INSERT INTO t FORMAT JSONEachRow {\"a\":1}", kindInsert, "JSONEachRow", false)
	f("INSERT INTO t SELECT 1 FORMAT Native", kindInsert, "Native", false)
	f("INSERT INTO t VALUES (1)", kindInsert, "", false)
	f("CREATE TABLE t (a UInt8) ENGINE = Memory", kindOther, "", false)
	f("", kindOther, "", false)
	f(";", kindOther, "", false)
}

func TestReadable(t *testing.T) {
	f := func(sql string, ok bool) {
		t.Helper()
		st := parse(sql)
		if err := st.readable(); (err == nil) != ok {
			t.Errorf("%q: got %v", sql, err)
		}
	}
	f("SELECT 1;", true)
	f("SELECT ';' ; -- end", true)
	f("SELECT $a$ file('x') ; DROP TABLE t $a$", true)
	f("SELECT `file` FROM t", true)
	f("SELECT file FROM t WHERE url IN ('a')", true)
	f("SELECT * FROM system.settings", true)
	f("SELECT url, settings FROM t", true)
	f("SELECT 1; SELECT 2", false)
	f("SELECT 1 -- x\n; DROP TABLE t", false)
	f("SELECT 1 # x\n; DROP TABLE t", false)
	f("SELECT '\\'' ; DROP TABLE t -- '", false)
	f("SELECT '''' ; DROP TABLE t -- '", false)
	f("SELECT \"a\\\"\" ; DROP TABLE t -- \"", false)
	f("SELECT $$a$$; DROP TABLE t", false)
	f("SELECT * FROM \"fi\\le\" ('x')", false)
	f("SELECT * FROM S3Cluster('x')", false)
	f("SELECT * FROM icebergAzureCluster('x')", false)
	f("SELECT * FROM fileCluster /* */ ('x')", false)
	f("SELECT {x:Identifier}('y')", false)
	f("SELECT 1 SETTINGS `max_memory_usage` = 0", false)
	f("EXPLAIN SELECT * FROM file('x')", false)
	f("DESCRIBE TABLE url('x')", false)
	f("DELETE FROM t WHERE 1", false)
	f("", false)
}

// FuzzParse: no statement panics, tokens lie in order, and a statement that
// may be read never begins with a word that writes.
func FuzzParse(f *testing.F) {
	for _, sql := range []string{
		"SELECT 1", "INSERT INTO t FORMAT CSV", "SELECT '\\", "SELECT \"", "/* ", "-- ", "$a$b", "$", "`", "))((", "format x", "WITH a AS (SELECT 1) SELECT 2; x",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		st := parse(sql)
		last := -1
		for _, tok := range st.tokens {
			if tok.start <= last || tok.start >= len(sql) || tok.depth < 0 {
				t.Fatalf("%q: token %+v behind %d", sql, tok, last)
			}
			last = tok.start
		}
		if st.takesData() && st.cut < 0 {
			t.Fatalf("%q: no place to cut", sql)
		}
		if st.readable() == nil && st.kind != kindSelect && st.kind != kindShow {
			t.Fatalf("%q: readable, kind %d", sql, st.kind)
		}
	})
}

func TestSettings(t *testing.T) {
	f := func(limit, asked, want string) {
		t.Helper()
		if got := lower(limit, asked); got != want {
			t.Errorf("cap %s, asked %s: got %s, expected %s", limit, asked, got, want)
		}
	}
	f("30", "10", "10")
	f("30", "60", "30")
	f("30", "0", "30")
	f("30", "-1", "30")
	f("30", "NaN", "30")
	f("30", "1e1", "1e1")
	f("30", "'; DROP", "30")
	if got := joinSettings([]setting{{"a", `it's \ x`}, {"b", "1"}}, false); got != `a = 'it\'s \\ x', b = '1'` {
		t.Error(got)
	}
}

func TestNewer(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		if got := newer(a, b); got != want {
			t.Errorf("%s newer than %s: %v", a, b, got)
		}
	}
	f("26.7.2.1", Release, false)
	f("26.8.0.1", Release, true)
	f("27.1.1.1", "26.7.2.1", true)
	f("25.12.1.1", "26.7.2.1", false)
}
