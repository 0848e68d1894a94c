-- The numbers are the same in all stores. Here the one writer gives positions in the order of its commits already.
SELECT 1;
