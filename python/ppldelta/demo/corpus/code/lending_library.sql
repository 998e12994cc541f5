-- Schema and everyday queries for a small lending library (SQLite).

PRAGMA foreign_keys = ON;

CREATE TABLE member (
    member_id  INTEGER PRIMARY KEY,
    full_name  TEXT NOT NULL,
    email      TEXT NOT NULL UNIQUE,
    joined_on  TEXT NOT NULL DEFAULT (date('now'))
);

CREATE TABLE title (
    title_id   INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    author     TEXT NOT NULL,
    published  INTEGER CHECK (published BETWEEN 1400 AND 2100)
);

-- One row for every physical book on the shelves.
CREATE TABLE copy (
    copy_id    INTEGER PRIMARY KEY,
    title_id   INTEGER NOT NULL REFERENCES title,
    shelf      TEXT NOT NULL,
    withdrawn  INTEGER NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1))
);

CREATE TABLE loan (
    loan_id      INTEGER PRIMARY KEY,
    copy_id      INTEGER NOT NULL REFERENCES copy,
    member_id    INTEGER NOT NULL REFERENCES member,
    lent_on      TEXT NOT NULL DEFAULT (date('now')),
    due_on       TEXT NOT NULL DEFAULT (date('now', '+21 days')),
    returned_on  TEXT,
    CHECK (due_on >= lent_on)
);

-- A copy can be out only once at a time.
CREATE UNIQUE INDEX loan_one_open_per_copy ON loan (copy_id)
WHERE returned_on IS NULL;

CREATE INDEX loan_by_member ON loan (member_id, lent_on);

CREATE TRIGGER loan_refuse_withdrawn
BEFORE INSERT ON loan
WHEN (SELECT withdrawn FROM copy WHERE copy_id = NEW.copy_id) = 1
BEGIN
    SELECT RAISE(ABORT, 'this copy has been withdrawn');
END;

-- How many copies of each title can be borrowed today?
CREATE VIEW availability AS
SELECT t.title_id,
       t.name,
       count(c.copy_id)                    AS copies,
       count(c.copy_id) - count(l.loan_id) AS on_shelf
FROM title AS t
LEFT JOIN copy AS c ON c.title_id = t.title_id AND c.withdrawn = 0
LEFT JOIN loan AS l ON l.copy_id = c.copy_id AND l.returned_on IS NULL
GROUP BY t.title_id, t.name;

-- Overdue loans, longest overdue first, with a fine of 20 cents a day up to 5.00.
SELECT m.full_name,
       t.name,
       l.due_on,
       CAST(julianday('now') - julianday(l.due_on) AS INTEGER) AS days_late,
       min(5.00, 0.20 * CAST(julianday('now') - julianday(l.due_on) AS INTEGER)) AS fine
FROM loan AS l
JOIN member AS m ON m.member_id = l.member_id
JOIN copy AS c ON c.copy_id = l.copy_id
JOIN title AS t ON t.title_id = c.title_id
WHERE l.returned_on IS NULL
  AND l.due_on < date('now')
ORDER BY l.due_on;

-- The three most borrowed titles of every year.
WITH yearly AS (
    SELECT strftime('%Y', l.lent_on) AS year,
           t.name,
           count(*) AS loans
    FROM loan AS l
    JOIN copy AS c ON c.copy_id = l.copy_id
    JOIN title AS t ON t.title_id = c.title_id
    GROUP BY year, t.title_id
), ranked AS (
    SELECT *, rank() OVER (PARTITION BY year ORDER BY loans DESC) AS place
    FROM yearly
)
SELECT year, place, name, loans
FROM ranked
WHERE place <= 3
ORDER BY year DESC, place, name;
