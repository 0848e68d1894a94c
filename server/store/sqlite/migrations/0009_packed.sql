-- Rows and entries may be packed from here on (format 2), which an older server cannot read: it must not start on this database.
SELECT 1;
