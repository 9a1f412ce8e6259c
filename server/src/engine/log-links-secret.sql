-- What links to output are signed with.
SELECT secret FROM reproq_log_links
