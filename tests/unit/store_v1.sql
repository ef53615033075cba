-- A store of version 1, as its own code wrote it: one task done, one under way.
PRAGMA application_id = 1835626086;
PRAGMA user_version = 1;
CREATE TABLE counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "counters" VALUES('event',3);
INSERT INTO "counters" VALUES('seq',0);
CREATE TABLE events (
        n INTEGER PRIMARY KEY, task INTEGER NOT NULL REFERENCES tasks (id), frame INTEGER NOT NULL,
        job TEXT NOT NULL, t REAL NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
        detections BLOB NOT NULL, recorded REAL NOT NULL, UNIQUE (task, frame));
INSERT INTO "events" VALUES(1,1,0,'aaaaaaaaaaaaaaaa',0.0,64,48,X'9193A6706572736F6ECB3FE000000000000094CB0000000000000000CB3FF0000000000000CB4034400000000000CB403E000000000000',1780000000.0);
INSERT INTO "events" VALUES(2,1,7,'aaaaaaaaaaaaaaaa',0.7,64,48,X'9193A6706572736F6ECB3FE000000000000094CB0000000000000000CB3FF0000000000000CB4034400000000000CB403E000000000000',1780000000.0);
INSERT INTO "events" VALUES(3,2,3,'aaaaaaaaaaaaaaaa',0.3,64,48,X'9193A6706572736F6ECB3FE000000000000094CB0000000000000000CB3FF0000000000000CB4034400000000000CB403E000000000000',1780000000.0);
CREATE TABLE files (
        source TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        entry BLOB, reason TEXT, PRIMARY KEY (source, name)) WITHOUT ROWID;
INSERT INTO "files" VALUES('dock','a.mp4',1000,5,X'8BA7636F6E74656E74D9206363636363636363636363636363636363636363636363636363636363636363A6736F75726365A4646F636BA46E616D65A5612E6D7034A46B696E64A5766964656FA66C6162656C7380A56279746573CD03E8A5776964746840A668656967687430A66672616D657364A3667073CB4024000000000000A86475726174696F6ECB4024000000000000',NULL);
CREATE TABLE job_tasks (
        job TEXT NOT NULL, task INTEGER NOT NULL REFERENCES tasks (id), cancelled INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (job, task)) WITHOUT ROWID;
INSERT INTO "job_tasks" VALUES('aaaaaaaaaaaaaaaa',1,0);
INSERT INTO "job_tasks" VALUES('aaaaaaaaaaaaaaaa',2,0);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('a','b');
INSERT INTO "meta" VALUES('incarnation','1780000000000');
CREATE TABLE peers (peer TEXT PRIMARY KEY, addresses TEXT NOT NULL, last_seen REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
        origin TEXT NOT NULL, incarnation INTEGER NOT NULL, seq INTEGER NOT NULL,
        kind TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL, heard REAL NOT NULL,
        PRIMARY KEY (origin, kind, key));
CREATE TABLE tasks (
        id INTEGER PRIMARY KEY, task TEXT NOT NULL UNIQUE, job TEXT NOT NULL, content TEXT NOT NULL,
        source TEXT NOT NULL, entry TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
        run INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, next_frame INTEGER NOT NULL DEFAULT 0,
        analysed INTEGER NOT NULL DEFAULT 0, detections INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0,
        digest TEXT NOT NULL DEFAULT '', error_kind TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
        captured REAL, updated REAL NOT NULL);
INSERT INTO "tasks" VALUES(1,'11111111111111111111111111111111','aaaaaaaaaaaaaaaa','cccccccccccccccccccccccccccccccc','dock','a.mp4','video','done',1,1,100,100,2,1.5,'fd9fbca629613be60e77df25044af323','','',NULL,1780000000.0);
INSERT INTO "tasks" VALUES(2,'22222222222222222222222222222222','aaaaaaaaaaaaaaaa','cccccccccccccccccccccccccccccccc','dock','a.mp4','video','running',1,1,4,4,1,0.5,'','','',NULL,1780000000.0);
CREATE TABLE vectors (
        origin TEXT NOT NULL, incarnation INTEGER NOT NULL, n INTEGER NOT NULL,
        PRIMARY KEY (origin, incarnation)) WITHOUT ROWID;
CREATE INDEX tasks_unfinished ON tasks (state) WHERE state IN ('pending', 'running');
CREATE INDEX job_tasks_by_task ON job_tasks (task);
CREATE INDEX events_recorded ON events (recorded);
CREATE VIEW task_rows AS SELECT
        id, task, job, content, source, entry, kind, state, run, attempts, next_frame, analysed, detections, seconds,
        digest, error_kind, error, captured, updated FROM tasks;
CREATE VIEW event_rows AS SELECT
        t.id, e.n, e.job, t.task, t.source, t.entry, t.content, e.frame, e.t, e.width, e.height,
        e.detections, t.captured FROM events e JOIN tasks t ON t.id = e.task;
