"""The doctor's page: upload a smear, see the probability of each class, keep nothing.

Django is imported here and nowhere else. What a visitor sees lies in ``templates``, ``static``, ``locale``.
"""
