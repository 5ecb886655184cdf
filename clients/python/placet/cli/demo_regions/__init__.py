"""Six regions on one machine: what ``placet demo regions`` starts, breaks and shows.

``scene`` says what there is, ``world`` has it as processes (``members``) on a network
(``networks``: ``namespaces`` or ``relays``), ``operating`` publishes and drains, ``callers`` ask,
``traffic`` counts what they are told, ``watching`` asks nodes how they fare, ``picture`` draws it,
``keys`` and ``script`` say what happens next.
"""
