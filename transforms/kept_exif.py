"""The EXIF that a user may ask to keep: groups of tags of Exif 2.32 (CIPA DC-008-2019), tables 4 to 8."""

KEEPABLE = {
    # DateTimeOriginal, DateTimeDigitized, DateTime; their offsets from UTC; their fractions of a second.
    "dates": (0x9003, 0x9004, 0x0132, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292),
    "exposure": (
        *(0x829A, 0x829D, 0x8822),  # ExposureTime, FNumber, ExposureProgram
        *(0x8827, 0x8830, 0x8831, 0x8832),  # ISO speed, what it means, output sensitivity, exposure index
        *(0x9201, 0x9202, 0x9203, 0x9204, 0x9205),  # ShutterSpeed, Aperture, Brightness, ExposureBias, MaxAperture
        *(0x9207, 0x9208, 0x9209, 0x920A),  # MeteringMode, LightSource, Flash, FocalLength
        *(0xA402, 0xA403, 0xA404, 0xA405),  # ExposureMode, WhiteBalance, DigitalZoomRatio, FocalLengthIn35mmFilm
        0xA406,  # SceneCaptureType
    ),
}
"""Groups of tags that may be kept. None holds free text, a place, a number of a camera or a picture."""
