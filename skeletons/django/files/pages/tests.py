"""Tests of the application: `python3 manage.py test`."""

from django.test import TestCase

from .models import Note


class Pages(TestCase):
    def test_the_page_greets(self):
        answer = self.client.get("/", {"name": "Ada & Grace"})
        self.assertContains(answer, "Ada &amp; Grace!")

    def test_notes_are_shown(self):
        Note.objects.create(text="buy milk")
        self.assertContains(self.client.get("/"), "buy milk")
