"""The auditor's report: what a run's evidence comes to, as one page for people and one form for machines.

facts, participation   everything that is shown, computed from the evidence as plain records
attached               files that the auditor made: conformance, attacks, utility
fields, checklist      the required statements, and the questions an auditor works through
figures, page, paper   drawing, HTML and PDF
registry               the same facts in the form of the public registry of deployments
"""
