"""The two mails that we send."""

import logging
import smtplib

from django.conf import settings
from django.core.mail import EmailMessage

from config.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)


def check_mail_configured() -> None:
    """Refuse before anything is stored.

    Raises:
        ApiError: SERVER_MISCONFIGURED when mail goes by SMTP and no server or sender is set.
    """
    if settings.EMAIL_SENDER_BACKEND == "smtp" and not (settings.EMAIL_HOST and settings.DEFAULT_FROM_EMAIL):
        logger.error("Mail can't be sent: SMTP_HOST and SMTP_FROM_EMAIL must be set when EMAIL_SENDER_BACKEND is smtp.")
        raise ApiError(ErrorCode.SERVER_MISCONFIGURED, "The server can't send mail: it is not configured for it.")


def send_verification_code(*, email: str, code: str) -> None:
    """Mail the code to a new learner. Raises like `_send`."""
    minutes = max(1, settings.EMAIL_CODE_EXPIRE_SECONDS // 60)
    _send(
        email,
        subject=f"{code} is your {settings.APP_NAME} verification code",
        body=(
            f"Your verification code for {settings.APP_NAME} is:\n\n"
            f"    {code}\n\n"
            f"It is valid for {minutes} minute{'' if minutes == 1 else 's'} and can be used once.\n"
            "If you did not ask for it, you can ignore this mail: nobody can use the code without it.\n"
        ),
    )


def send_already_registered_notice(*, email: str) -> None:
    """Tell the owner of a registered address that somebody asked for a code. Raises like `_send`."""
    _send(
        email,
        subject=f"You already have a {settings.APP_NAME} account",
        body=(
            f"Somebody, probably you, wanted to register this address for {settings.APP_NAME}.\n"
            "There is an account for it already: please log in with your password.\n\n"
            "If it was not you, you can ignore this mail. Nothing has changed.\n"
        ),
    )


def _send(email: str, *, subject: str, body: str) -> None:
    """Send one mail; slow, so never inside a transaction.

    Raises:
        ApiError: EMAIL_SEND_FAILED when the server refuses, hangs or can't be reached.
    """
    message = EmailMessage(subject, body, settings.DEFAULT_FROM_EMAIL or "noreply@localhost", [email])
    try:
        message.send()
    except (OSError, ValueError, smtplib.SMTPException) as error:  # ValueError: an address that can't be encoded
        # The server's answer may repeat the address and the text: the kind of the error is enough to act on.
        logger.warning("A mail could not be sent: %s", type(error).__name__)
        raise ApiError(ErrorCode.EMAIL_SEND_FAILED) from error
