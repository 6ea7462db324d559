BEGIN TRANSACTION;
CREATE TABLE allowance (
	network VARCHAR NOT NULL, 
	until FLOAT, 
	"by" VARCHAR NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (network)
);
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	who VARCHAR NOT NULL, 
	what VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE ban (
	id VARCHAR NOT NULL, 
	network VARCHAR NOT NULL, 
	since FLOAT NOT NULL, 
	until FLOAT, 
	reason VARCHAR NOT NULL, 
	"by" VARCHAR NOT NULL, 
	user_agent VARCHAR NOT NULL, 
	count INTEGER NOT NULL, 
	lifted_at FLOAT, 
	lifted_by VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE sample (
	mirror VARCHAR NOT NULL, 
	at_ms BIGINT NOT NULL, 
	vantage VARCHAR NOT NULL, 
	ok BOOLEAN NOT NULL, 
	state VARCHAR NOT NULL, 
	verdict VARCHAR NOT NULL, 
	resolve_us INTEGER, 
	connect_us INTEGER, 
	tls_us INTEGER, 
	first_byte_us INTEGER, 
	PRIMARY KEY (mirror, at_ms)
)
 WITHOUT ROWID

;
CREATE TABLE transition (
	id INTEGER NOT NULL, 
	mirror VARCHAR NOT NULL, 
	at FLOAT NOT NULL, 
	vantage VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	verdict VARCHAR NOT NULL, 
	detail VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE wish (
	mirror VARCHAR NOT NULL, 
	wish VARCHAR NOT NULL, 
	until FLOAT, 
	"by" VARCHAR NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (mirror)
);
CREATE INDEX ix_transition_mirror ON transition (mirror);
CREATE INDEX ix_ban_network ON ban (network);
CREATE INDEX ix_audit_at ON audit (at);
COMMIT;
