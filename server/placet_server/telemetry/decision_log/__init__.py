"""The decision log: every decision with the request it answers, for those who come after.

``log.py`` takes decisions from the hot path; a thread of its own makes records of them
(``records.py``), masks them (``masking.py``) and puts them into the ``outbox.py``; a second thread
takes them from there to a sink (``sinks.py``, ``otlp.py``). ``spool.py`` is where they wait on
disk.
"""
