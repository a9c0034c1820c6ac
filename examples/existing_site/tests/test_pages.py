from datetime import UTC, datetime

import pytest

from accounts.models import User
from appointments.models import Appointment


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["", "call/"], ids=["in our page", "on the call page"])
def test_a_call_looks_like_the_site(client, path):
    doctor = User.objects.create_user("doctor@example.org", "", full_name="Dr. Ada Lovelace")
    appointment = Appointment.objects.create(
        doctor=doctor, patient=doctor, starts_at=datetime(2027, 1, 4, 9, tzinfo=UTC)
    )
    client.force_login(doctor)
    response = client.get(f"/appointments/{appointment.pk}/{path}", follow=True)
    assert "Praxis am Markt" in response.text  # our base template
    assert "Beitreten" in response.text  # our language
    assert "Dr. Ada Lovelace" in response.text
    assert "doctor@example.org" not in response.text
    policy = response.headers["Content-Security-Policy"]  # ours, with our nonce
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert f'nonce="{nonce}"' in response.text
