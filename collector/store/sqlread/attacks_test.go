package sqlread_test

// refused are statements that a viewer of tenant acme is not answered.
var refused = []string{
	// Changes.
	"INSERT INTO events (tenant) VALUES ('acme')",
	"INSERT INTO FUNCTION file('/tmp/agentrail-sql-1', 'CSV', 'a Int') SELECT 1",
	"ALTER TABLE events DELETE WHERE 1",
	"ALTER TABLE events UPDATE actor = 'x' WHERE 1",
	"DROP TABLE events", "TRUNCATE TABLE events", "OPTIMIZE TABLE events FINAL", "RENAME TABLE events TO x", "DETACH TABLE events",
	"CREATE TABLE x (a Int) ENGINE = Memory", "CREATE TEMPORARY TABLE x (a Int)", "CREATE VIEW x AS SELECT 1", "CREATE FUNCTION f AS x -> x",
	"CREATE DICTIONARY d (a Int) PRIMARY KEY a SOURCE(FILE(path '/etc/passwd' format 'CSV')) LAYOUT(FLAT()) LIFETIME(1)",
	"SYSTEM SHUTDOWN", "KILL QUERY WHERE 1", "SET readonly = 0", "USE system", "DELETE FROM events WHERE 1", "GRANT ALL ON *.* TO default",
	"BACKUP TABLE events TO File('/tmp/agentrail-sql-2')", "ATTACH TABLE x FROM '/etc' (a Int) ENGINE = File(CSV)", "BEGIN TRANSACTION", "EXCHANGE TABLES events AND raw",

	// Several statements.
	"SELECT 1; SELECT 2", "SELECT 1; DROP TABLE events", "SELECT 1 /* ; */ ; DROP TABLE events", "SELECT ';' ; DROP TABLE events",
	"SELECT 1;;DROP TABLE events", "SELECT 1) ; DROP TABLE events; SELECT (1", "SELECT 1) UNION ALL SELECT * FROM (SELECT 2", "SELECT `;\\`` FROM events; DROP TABLE events",
	"SELECT 1 -- \n; DROP TABLE events", "SELECT 1 # \n; DROP TABLE events", "SELECT $a$ ; $a$; DROP TABLE events", "", ";", "-- nothing", "/* open",

	// Files and the network.
	"SELECT 1 INTO OUTFILE '/tmp/agentrail-sql-3'", "SELECT 1 INTO/**/OUTFILE '/tmp/agentrail-sql-4' FORMAT CSV", "SELECT 1 FORMAT CSV INTO OUTFILE '/tmp/agentrail-sql-5'",
	"SELECT * FROM file('/etc/passwd', 'LineAsString')", "SELECT * FROM/**/file/**/('/etc/passwd', 'LineAsString')", "SELECT * FROM `file`('/etc/passwd', LineAsString)",
	"SELECT * FROM FILE('/etc/passwd', 'LineAsString', 'a String')", "SELECT * FROM fileCluster('default', '/etc/passwd', 'LineAsString')", "SELECT file('/etc/passwd')",
	"SELECT * FROM url('http://127.0.0.1/', 'LineAsString')", "SELECT * FROM urlCluster('default', 'http://127.0.0.1/', 'CSV', 'a String')", "SELECT * FROM url('file:///etc/passwd', 'LineAsString')",
	"SELECT * FROM s3('http://127.0.0.1/a', 'CSV')", "SELECT * FROM s3Cluster('default', 'http://127.0.0.1/a', 'CSV')", "SELECT * FROM gcs('http://127.0.0.1/a', 'CSV')",
	"SELECT * FROM remote('127.0.0.1', 'system', 'one')", "SELECT * FROM remoteSecure('127.0.0.1', 'system', 'one')", "SELECT * FROM cluster('default', system, one)", "SELECT * FROM clusterAllReplicas('default', system.one)",
	"SELECT * FROM executable('id', 'TSV', 'a String')", "SELECT * FROM mysql('127.0.0.1:3306', 'a', 'b', 'c', 'd')", "SELECT * FROM postgresql('127.0.0.1:5432', 'a', 'b', 'c', 'd')",
	"SELECT * FROM sqlite('/etc/passwd', 'a')", "SELECT * FROM jdbc('a', 'b', 'c')", "SELECT * FROM odbc('a', 'b', 'c')", "SELECT * FROM hdfs('hdfs://127.0.0.1/a', 'CSV')",
	"SELECT * FROM mongodb('127.0.0.1:1', 'a', 'b', 'c', 'd', 'e String')", "SELECT * FROM redis('127.0.0.1:1', 'a', 'a String')", "SELECT * FROM azureBlobStorage('a', 'b', 'c')",
	"SELECT * FROM python('x')", "SELECT * FROM input('a String')", "SELECT * FROM iceberg('http://127.0.0.1/a')", "SELECT * FROM deltaLake('http://127.0.0.1/a')",

	// Dictionaries and what else holds rows under another name.
	"SELECT dictGet('d', 'a', 1)", "SELECT dictGetOrDefault('default.d', 'a', 1, 'x')", "SELECT * FROM dictionary('d')", "SELECT joinGet('default.events', 'actor', 'x')",
	"SELECT * FROM merge('default', '.*')", "SELECT * FROM merge(REGEXP('.*'), '.*')", "SELECT * FROM loop(events)", "SELECT * FROM view(SELECT * FROM events)", "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))",
	"SELECT * FROM mergeTreeIndex('default', 'events')", "SELECT * FROM mergeTreeProjection('default', 'events', 'x')", "SELECT * FROM viewIfPermitted(SELECT 1 ELSE null('a Int'))",
	"SELECT * FROM numbers(10)", "SELECT * FROM values('a Int', 1)", "SELECT * FROM generateRandom('a Int') LIMIT 1", "SELECT * FROM null('a Int')", "SELECT * FROM zeros(3)",

	// Tables that are not on the list.
	"SELECT * FROM system.tables", "SELECT * FROM `system`.`tables`", "SELECT * FROM \"system\".\"processes\"", "SELECT * FROM system/**/./**/settings", "SELECT count() FROM system.numbers LIMIT 1",
	"SELECT * FROM SYSTEM.tables", "SELECT * FROM information_schema.tables", "SELECT * FROM INFORMATION_SCHEMA.TABLES", "SELECT (SELECT count() FROM system.tables)", "SELECT toUInt8((SELECT any(name) FROM system.tables))",
	"SELECT 1 IN system.one", "SELECT 'a' IN (SELECT name FROM system.tables)", "WITH x AS (SELECT * FROM system.tables) SELECT * FROM x", "WITH (SELECT count() FROM system.tables) AS n SELECT n",
	"SELECT * FROM events AS e JOIN system.tables AS t ON 1", "SELECT * FROM events UNION ALL SELECT * FROM raw", "SELECT tenant FROM events UNION ALL SELECT name FROM system.databases",
	"SELECT * FROM agentrail_meta", "SELECT * FROM default.agentrail_migrations", "SELECT 'a' IN agentrail_probe", "SELECT key FROM (SELECT * FROM agentrail_meta)",
	"SELECT content FROM raw", "SELECT content FROM default.raw", "SELECT SpanAttributes FROM otel_traces", "SELECT count() FROM raw AS events", "SELECT toUInt8((SELECT any(content) FROM raw))",
	"SELECT * FROM no_such_table", "SELECT * FROM (EXPLAIN SELECT 1)", "FROM system.tables SELECT name", "FROM raw SELECT content",

	// Settings.
	"SELECT 1 SETTINGS readonly = 0", "SELECT * FROM events SETTINGS additional_table_filters = {}", "SELECT * FROM (SELECT * FROM events SETTINGS additional_table_filters = {})",
	"SELECT 1 FORMAT CSV SETTINGS readonly = 0", "SELECT 1 SETTINGS `readonly` = 0", "WITH x AS (SELECT 1 SETTINGS max_threads = 1) SELECT * FROM x",

	// Other kinds of statement.
	"SHOW TABLES", "SHOW DATABASES", "SHOW CREATE TABLE events", "DESCRIBE TABLE raw", "EXPLAIN SELECT 1", "EXISTS TABLE raw", "CHECK TABLE events", "DESC raw",
	"SELECT hostName()", "SELECT getMacro('x')", "SELECT currentUser()", "SELECT sleep(3)", "SELECT hasColumnInTable('default', 'raw', 'content')",
}
