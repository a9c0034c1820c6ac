import asyncio
from datetime import UTC, datetime

import pytest

from accounts.models import User
from appointments.calls import open_call
from appointments.models import Appointment
from signalling.testing import RequestRefused


def test_the_call_of_an_appointment(signalling_server):
    doctor, patient, stranger = (
        User.objects.create_user(f"{name}@example.org", "", full_name=name) for name in "abc"
    )
    appointment = Appointment.objects.create(
        doctor=doctor, patient=patient, starts_at=datetime(2027, 1, 4, 9, tzinfo=UTC)
    )
    code = open_call(appointment).code
    people = [signalling_server.client(user) for user in (doctor, patient, stranger)]

    async def call():
        async with people[0] as first, people[1] as second, people[2] as third:
            await first.join(code)
            await second.join(code)
            joined = await first.receive("peer:joined")
            assert joined["peerId"] == second.peer_id
            with pytest.raises(RequestRefused):
                await third.join(code)

    asyncio.run(call())
