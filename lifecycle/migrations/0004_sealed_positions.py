"""Positions are sealed from here on. A step that was under way begins anew, which every step may."""

from django.db import migrations

import lifecycle.models.sealed


class Migration(migrations.Migration):
    dependencies = [("lifecycle", "0003_suspended")]

    operations = [
        migrations.RunSQL("UPDATE lifecycle_step SET cursor = NULL", migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="step",
            name="cursor",
            field=lifecycle.models.sealed.SealedJSONField(blank=True, null=True),
        ),
    ]
